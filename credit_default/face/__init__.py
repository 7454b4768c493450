"""The Python API for notebooks: all names of `import credit_default as cd`."""
