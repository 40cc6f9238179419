from deploy.public_mqtt.main import main

main()
