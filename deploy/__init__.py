"""How cityfeed is installed, started, watched and fed: local stack, containers, replay, command line."""
