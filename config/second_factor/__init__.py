"""One-time codes beside the password: who has to give one, the pages for it, and what is kept of it."""
