"""Records that mg-data contributes. Imports the contract and nothing heavy."""
