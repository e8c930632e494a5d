"""Records that mg-adapt contributes. Imports the contract and nothing heavy."""
