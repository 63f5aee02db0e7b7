"""What clients see: the images API, its errors, streams, status and page; and forwarding between routers."""
