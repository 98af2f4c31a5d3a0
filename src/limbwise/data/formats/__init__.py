"""Label files of other tools: read as a `Dataset`, written from one. `table.FORMATS` lists them."""
