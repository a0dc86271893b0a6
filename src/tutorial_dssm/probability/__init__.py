"""Ground floor: densities, filters, intervals. Nothing is learned here."""
