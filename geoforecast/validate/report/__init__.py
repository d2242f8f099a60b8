"""What people look at: the report, its pictures, plots and animation, and styles for QGIS."""
