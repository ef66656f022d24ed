"""What monitoring reads: numbers that follow from what is recorded, and numbers asked for when somebody looks.

Names and labels are a contract (docs and alert rules rest on them): add, don't rename. No operation id is ever a label.
"""
