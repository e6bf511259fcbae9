"""Where runs are done, beside the command's own process: in workers on this machine."""
