"""The papers' wing: what their theorems promise, and studies and a ledger that hold them against numbers."""
