"""What a test says of a refusal."""

from typing import Any


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check that the answer is this problem, and return it."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["type"], problem["code"], problem["status"]) == (f"/problems/{code}", code, status)
    return problem


def errors_of(response: Any) -> list[tuple[str, str]]:
    """Return pointer and code of the field errors of a 422."""
    problem = assert_problem(response, 422, "validation-failed")
    return [(error["pointer"], error["code"]) for error in problem["errors"]]
