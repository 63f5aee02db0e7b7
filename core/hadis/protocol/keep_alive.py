"""How long connections without a request are kept open: by the client's end for less than by the server's.

Used just as the server closes it, a connection would look like the server's end. Go's clients and common proxies keep
theirs for 60 to 90 seconds.
"""

SERVER_S = 120
CLIENT_S = 60.0
"""Of clients of our own servers."""
CLIENT_ELSEWHERE_S = 3.0
"""Of clients of other people's: uvicorn's and Node's own default is 5 s."""
