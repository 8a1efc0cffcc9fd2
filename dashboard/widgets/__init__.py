"""Charts, tables and form controls that several pages share."""
