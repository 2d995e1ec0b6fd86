"""Pictures of densities, particles, distances over time and studies, in one style."""
