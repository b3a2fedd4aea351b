"""tersor's own format, for what nobody else can hold."""
