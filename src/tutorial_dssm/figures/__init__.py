"""Top floor: data in, matplotlib `Figure` out."""
