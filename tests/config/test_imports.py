import subprocess
import sys


def test_reading_settings_imports_nothing_heavy() -> None:
    program = (
        "import sys; from generation_worker.config import load_settings; load_settings({});"
        "print([name for name in sys.modules if name.split('.')[0] in "
        "{'fastapi', 'sqlalchemy', 'alembic', 'boto3', 'botocore', 'google', 'replicate', 'PIL'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
