"""The Kubernetes client that operator and router share."""
