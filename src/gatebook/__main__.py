"""python -m gatebook"""

from gatebook.cli import main

main()
