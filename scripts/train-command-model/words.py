"""The subjects of the sentences: titles, names, and the common words of a child.

An entry `written|spoken` is spelled differently for the synthesiser than it is written.
"""

TITLES = """
twinkle twinkle little star;ode to joy;frere jacques|frair uh zhock;brahms lullaby;the bear's waltz;a pug;baa baa black sheep
the wheels on the bus;old macdonald had a farm;row row row your boat;humpty dumpty;hickory dickory dock;jack and jill
mary had a little lamb;london bridge is falling down;the itsy bitsy spider;incy wincy spider;five little ducks
five little monkeys;if you're happy and you know it;head shoulders knees and toes;the alphabet song;the a b c song
hush little baby;rock a bye baby;you are my sunshine;bingo;pop goes the weasel;three blind mice;little bo peep
little miss muffet;hey diddle diddle;pat a cake;ring around the rosie;ring a ring o roses;the muffin man;this old man
ten in the bed;ten green bottles;five little speckled frogs;the ants go marching;she'll be coming round the mountain
oh susanna;my bonnie;kookaburra;the farmer in the dell;here we go round the mulberry bush;i'm a little teapot
teddy bear teddy bear;skip to my lou;do your ears hang low;the bear went over the mountain;rain rain go away
are you sleeping;sleep baby sleep;golden slumbers;silent night;jingle bells;we wish you a merry christmas;deck the halls
rudolph the red nosed reindeer;o christmas tree;happy birthday;auld lang syne|old lang zine;greensleeves;fur elise|foor a leese
the nutcracker;swan lake;the four seasons;moonlight sonata;peter and the wolf;carnival of the animals;the blue danube
the ugly duckling;cinderella;snow white;sleeping beauty;little red riding hood;the three little pigs
goldilocks and the three bears;hansel and gretel;rapunzel;rumpelstiltskin;the frog prince;jack and the beanstalk
the gingerbread man;the tortoise and the hare;the lion and the mouse;the boy who cried wolf;the ant and the grasshopper
puss in boots;the elves and the shoemaker;the princess and the pea;the little mermaid;thumbelina;the snow queen
the emperor's new clothes;pinocchio;peter pan;alice in wonderland;the jungle book;the wizard of oz;the secret garden
aladdin;ali baba;sinbad the sailor;beauty and the beast;the pied piper;the little match girl;the monkey king
the wind in the willows;the velveteen rabbit;the three billy goats gruff;the little red hen;chicken little
white rabbit;two tigers;little donkey;the sun song;the moon song;the rainbow song;the train song;the animal song;the counting song
the colour song;the good night song;the good morning song;the sleepy bunny;the brave little bear;the lost kitten
the magic forest;the friendly dragon;the dinosaur dance;the duck song;the elephant song;the rocket song;the pirate song
the robot dance;the fox and the grapes;the hungry caterpillar;the bear song;the rain song;the ocean song;baby whale
"""

FAMILY = """
grandma;grandpa;granny;grandmother;grandfather;nana;papa;dad;daddy;mom;mommy;mum;mummy;mama;baba;my brother;my sister
aunt;auntie;uncle;my cousin;aunt mary;aunt lucy;auntie anna;uncle bob;uncle tom;uncle john;uncle ben;grandma rose
grandpa joe;grandma lily;grandpa george;nainai|nigh nigh;yeye|yeh yeh;waipo|why paw;my teacher;my friend;my best friend
"""

CHILDREN = """
anna;emma;mia;lily;olivia;sophie;ella;lucy;alice;grace;chloe;zoe;ruby;rosie;daisy;molly;amy;kate;lena;nina;nora;clara;eva;maya
leah;hannah;sarah;julia;laura;maria;sofia;isla;ivy;hazel;luna;stella;bella;amelia;charlotte;emily;jessica;megan;poppy;freya
tom;ben;max;sam;leo;jack;noah;oscar;finn;luke;adam;jacob;daniel;david;peter;paul;mark;john;james;henry;harry;charlie;george
oliver;william;lucas;ethan;liam;mason;logan;alex;ryan;toby;theo;felix;hugo;simon;tim;nick;mike;joe;will;dylan;nathan;isaac
lele|luh luh;xiao ming|shyow ming;mei mei|may may;dou dou|doe doe;tian tian|tyen tyen;yuki;hiro;ravi;priya;omar;layla;ali;fatima
pablo;carlos;diego;ines;pierre;hans;greta;ivan;olga
"""

TOYS = """
ball ball;fluffy;rex;teddy;bunny;mr bear|mister bear;bear bear;panda;piggy;kitty;puppy;doggy;ducky;froggy;sparkle;buddy;coco;momo;toto
rocket;robo;robot;dino;tiger;lion;bubbles;snowy;ginger;pepper;biscuit;cookie;pumpkin;peanut;honey;pearl;star;sunny;captain;lulu;kiki
chip;dot;pip;nemo;patch;spot;shadow;misty;rusty;scout;ziggy;muffin;waffles;pickles;pug;big ben;little bear;blue bear;red rabbit
"""

NOUNS = """
cat;dog;bear;rabbit;fox;wolf;lion;tiger;monkey;elephant;horse;cow;pig;sheep;duck;chicken;bird;owl;frog;fish;whale;shark;turtle;snake
mouse;bee;butterfly;spider;dragon;dinosaur;unicorn;giraffe;zebra;kangaroo;penguin;dolphin;squirrel;hedgehog;puppy;kitten;crocodile
sun;moon;star;cloud;rain;snow;wind;rainbow;tree;flower;forest;garden;river;sea;beach;mountain;island;castle;house;farm;school;park
car;bus;train;plane;boat;ship;bike;truck;rocket;tractor;ball;doll;book;story;song;game;puzzle;picture;pencil;paper;box;bag;hat;shoe
sock;coat;bed;chair;table;door;window;kitchen;bath;apple;banana;orange;cake;cookie;bread;milk;water;juice;cheese;egg;soup;ice cream
king;queen;prince;princess;pirate;knight;giant;witch;wizard;fairy;mermaid;robot;clown;doctor;teacher;farmer;baby;boy;girl;friend
family;birthday;party;present;balloon;drum;piano;guitar;violin;flute;bell;dance;dream;night;morning;day;summer;winter;spring;autumn
"""

ADJECTIVES = """
little;big;small;happy;sad;sleepy;hungry;brave;funny;silly;magic;lost;lonely;friendly;naughty;clever;kind;old;new;young;red;blue
green;yellow;white;black;pink;purple;brown;golden;silver;fast;slow;loud;quiet;soft;warm;cold;tiny;great;good;bad;pretty;lazy;angry
"""

VERBS = """
sing;dance;run;jump;play;sleep;eat;drink;read;draw;swim;fly;walk;talk;listen;laugh;cry;cook;count;paint;climb;hide;ride;build;help
"""

PLACES = """
home;the park;school;the beach;the zoo;the garden;my room;the kitchen;grandma's house;the farm;bed;the library;the playground
"""

KINDS = """
music;a song;a story;some music;a lullaby;a nursery rhyme;a bedtime story;a fairy tale;a christmas song;a funny song;an animal song
"""

MOODS = """
quiet;calm;slow;soft;happy;funny;loud;fast;relaxing;gentle;cheerful;new;short;long;nice;for sleeping;to dance to
"""

COUNTRIES = """
france;china;japan;spain;italy;germany;england;america;india;egypt;canada;brazil;australia
"""

UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth last next".split()


def entries(block):
    """The (written, spoken) pairs of a block of entries."""
    pairs = []
    for entry in block.replace("\n", ";").split(";"):
        if entry.strip():
            written, _, spoken = entry.strip().partition("|")
            pairs.append((written, spoken or written))
    return pairs


def number(value):
    """0 to 100 in words, as a child says it."""
    if value == 0:
        return "zero"
    if value == 100:
        return "a hundred"
    if value < 20:
        return UNITS[value - 1]
    tens = TENS[value // 10 - 2]
    return tens if value % 10 == 0 else f"{tens} {UNITS[value % 10 - 1]}"
