"""Records that mg-rgb contributes. Imports the contract and nothing heavy."""
