"""What a run leaves behind: results and pages, all of them rendered from its journal."""
