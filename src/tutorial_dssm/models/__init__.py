"""The models, one file each, behind one interface (`models.base`)."""
