"""How long connections without a request are kept open: by the client's end for less than by the server's.

Used just as the server closes it, a connection would look like the server's end. Go's clients and common proxies keep
theirs for 60 to 90 seconds.
"""

SERVER_S = 120
CLIENT_S = 60.0
