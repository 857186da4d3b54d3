"""From images to stacks: slices that lie on one another, measured and judged. Pure; no pixels."""
