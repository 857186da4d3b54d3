"""`python -m migrations`: bring the database of `CTCLIP_DATABASE_URL` to the newest schema."""

from migrations import upgrade
from shared.settings import get_settings

if __name__ == "__main__":
    upgrade(get_settings().database_url.get_secret_value())
