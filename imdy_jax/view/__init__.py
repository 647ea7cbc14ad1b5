"""What a person looks at: figures, film strips and films, drawn without a graphics card."""
