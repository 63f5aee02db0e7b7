"""The custom resources as pydantic models, and the CustomResourceDefinitions made from them."""
