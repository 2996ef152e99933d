"""From the runtime config to a real proxy: a loader, what routing means, and a renderer for each proxy (T3–T5)."""
