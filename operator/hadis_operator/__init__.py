"""The operator: `kopf run -m hadis_operator`. Handlers are thin; `reconcile` and `children` are pure."""

import hadis_operator.handlers  # noqa: F401 (kopf finds the handlers in what it imports)
