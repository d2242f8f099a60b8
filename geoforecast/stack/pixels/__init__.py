"""The pixel pass: units of work, warped, combined, written; what survives a kill."""
