"""Show results in a browser: pages that query `analytics`; never imports torch."""
