"""The shared half of HADIS: resources, planning, protocol, the Kubernetes client and the `hadis` command."""
