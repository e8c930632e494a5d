"""Records that mg-skeleton contributes. Imports the contract and nothing heavy."""
