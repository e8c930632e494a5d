"""Records that mg-fusion contributes. Imports the contract and nothing heavy."""
