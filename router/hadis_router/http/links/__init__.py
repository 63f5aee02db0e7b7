"""Links to images: short-lived, signed URLs in answers, and the images behind them."""
