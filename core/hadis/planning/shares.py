"""The shares of a cascade's tiers, for all that plans: `hadis.api.shares`, which a profile's costs need too."""

from hadis.api.shares import cascade_gpu_s as cascade_gpu_s
from hadis.api.shares import deferred_share as deferred_share
from hadis.api.shares import heavy_share as heavy_share
from hadis.api.shares import light_share as light_share
