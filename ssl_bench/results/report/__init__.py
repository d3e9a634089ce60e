"""The HTML report of recorded runs: one page without external resources, see `page.write_report`."""
