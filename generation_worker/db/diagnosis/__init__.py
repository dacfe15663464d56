"""What ``doctor`` looks at in a database: asked by ``insights``, judged here, with a remedy for each fault."""
