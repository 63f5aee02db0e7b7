"""Requests that are alike: the later ones get the first one's answer, where the service's spec lets them."""
