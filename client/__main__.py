"""`python -m client`: the same as `ctclip`."""

from client.command import main

if __name__ == "__main__":
    main()
