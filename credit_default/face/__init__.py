"""What a data scientist types in a notebook; `import credit_default as cd` shows all of it."""
