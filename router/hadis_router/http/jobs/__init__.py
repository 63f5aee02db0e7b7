"""Long jobs: images that nobody waits for on an open connection; the answer is fetched later, or a webhook tells."""
