"""napari: reader, writer, layers, worker, form and dock widgets."""
