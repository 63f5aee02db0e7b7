"""From a job to its image: admission, queues, batches, the cascade and the workers; knows nothing of HTTP servers."""
