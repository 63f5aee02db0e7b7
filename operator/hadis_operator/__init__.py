"""The operator: `kopf run -m hadis_operator`.

Handlers are thin; `observe` and `children` are pure, and `hadis.planning.decide` decides.
"""

import hadis_operator.handlers  # noqa: F401 (kopf finds the handlers in what it imports)
