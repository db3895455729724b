"""How each picture is drawn; gatebook.charts is where they are asked for."""
