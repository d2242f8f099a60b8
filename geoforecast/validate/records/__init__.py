"""What other software is told of a validation: ISO 19115-3 with 19157, and a STAC item."""
