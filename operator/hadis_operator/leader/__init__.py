"""Who writes: of several operators one at a time, by a Lease (coordination.k8s.io/v1).

`lease` says what a Lease says and who is in whose way (pure), `elector` takes, renews and gives back, and `fence` lets
no write out without it. Why so: docs/decisions/one-writer.md.
"""
