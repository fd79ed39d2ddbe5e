"""Many threads read an answer of a type that none has read before: msgspec itself would crash the process."""

import subprocess
import sys

PROGRAM = """
import sys, threading
import httpx, msgspec
from outbox.outside import HttpService

sys.setswitchinterval(1e-6)
service = HttpService(name="bank", base_url="http://bank", timeout_seconds=1)
response = httpx.Response(200, content=b'{"line": {"key": "k", "amount": 3}}')

def read(answer_type, start):
    start.wait()
    service._decode(response, answer_type)

for _ in range(100):
    class Line(msgspec.Struct):
        key: str
        amount: int
    class Answer(msgspec.Struct):
        line: Line
    start = threading.Barrier(8)
    threads = [threading.Thread(target=read, args=(Answer, start)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_read_a_new_type_at_once_do_not_crash() -> None:
    process = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)

    assert (process.returncode, process.stderr) == (0, "")
